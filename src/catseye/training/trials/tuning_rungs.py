def tuning_rungs(search, backbone):
    return

def fresh_rungs(search):
    return

"""The way of training found by trials: the best model that a given time allows, or the first minutes do.

Enters: a session. Leaves: a finished run, with every trial in its auto.json. Called by train.py for `--time`, and where
the recipe `auto` has published weights to begin with.

    ladder.py         the search from the first rung to the measured run
    search.py         what has been tried, what is kept, who judges
    time_budget.py    the promised time, and forecasts
    scores.py         a trial's score, and whether it pays beside the best so far
    folds.py          folds that keep groups together and classes even
    halving.py        successive halving
    linear_head.py    logistic regression and discriminants on frozen features
    trial_features.py published weights, frozen, and their features of the images that train and judge
    frozen_rungs.py   trials of heads on frozen features, at several input sizes
    more_weights.py   trials of heads on the features of other published weights
    copy_rungs.py     trials of heads on copies of the images, and on both mirror images
    tuning_rungs.py   trials of tuned stages, begun from the best head
    tuning_steps.py   a plan's training steps, which end in time
    activations.py    what the last frozen stage answers, computed once
    fresh_rungs.py    trials of networks from fresh weights
"""

"""Trials that choose how to train: the best model within `--time` or minutes.

Enters: a session. Leaves: a finished run, with every trial in its auto.json. Called by train.py for `--time`, and if
the recipe `auto` has published weights to start from.

    ladder.py         the search from the first rung to the measured run
    search.py         the trials so far, the model that is kept, the images that judge
    time_budget.py    the promised time, and forecasts
    scores.py         a trial's score, and whether it is better than the best so far
    folds.py          folds that keep groups together and classes balanced
    halving.py        successive halving
    linear_head.py    logistic regression and discriminants on frozen features
    feature_frame.py  the coordinates in which such heads are fitted
    published_rows.py rows of the published classifier, with which a head may begin
    trial_features.py frozen networks with published weights, and their features of the images
    frozen_rungs.py   trials of heads on frozen features, at several input sizes
    more_weights.py   trials of heads on the features of other published weights
    copy_rungs.py     trials of heads on copies of the images, and on both mirror images
    tuning_rungs.py   trials of tuned stages, starting from the best head
    tuning_steps.py   a plan's training steps, which end in time
    activations.py    the output of the last frozen stage, computed once
    fresh_rungs.py    trials of networks from fresh weights
"""

"""How good a trained model is: one pass to logits, metrics from them, a report.

Enters: a model and labelled images. Leaves: metrics.json, report.html, comparisons. Called by training,
exporting and cli.

    predict.py        one pass: every image's logits, once
    metrics.py        accuracy with interval, precision, recall, F1, confusion
    figures.py        confusion matrix and training curves as PNG
    guessing.py       whether a model is better than guessing
    knn_baseline.py   the score of the nearest training images on the same features
    measure.py        a model and images in, logits out
    provenance.py     whether the images of a measurement trained the model
    calibration.py    temperature and vector scaling; ECE, Brier score, loss
    familiarity.py    centres of each class's features, and the threshold below which an image is foreign
    strangers.py      how well three scores separate foreign images from a run's own
    rejection.py      risk and coverage, a threshold for "unknown", AUROC, energy
    statistics.py     bootstrap, McNemar's test, Holm
    label_errors.py   confident learning
    corruptions.py    noise, blur, JPEG, brightness, rotation at five strengths
    curves.py         ROC and precision-recall curves
    charts.py         charts as SVG text
    gallery.py        which images a report shows, within a budget
    report.py         report.html; its page, style and script are in templates/
    report_tables.py  its tables
    report_charts.py  its charts
    calibrate.py      `catseye calibrate`
    corrected.py      runs with and without corrections, on the same corrected images
    compare.py        `catseye compare`
    evaluate.py       `catseye evaluate`
    answered.py       the answer to every image: as a table, and the mistakes with their images
"""

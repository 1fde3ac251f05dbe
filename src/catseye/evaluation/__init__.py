"""What a trained model is worth: one pass to logits, metrics from them, a report of those.

Enters: a model and labelled images. Leaves: metrics.json, report.html, comparisons. Called by training,
exporting and cli.

    predict.py        one pass: every image's logits, once
    metrics.py        accuracy with interval, precision, recall, F1, confusion
    figures.py        confusion matrix and training curves as PNG
    guessing.py       whether anything is shown to be learnt
    knn_baseline.py   what the nearest training images score on the same features
    measure.py        a model and images in, logits out
    provenance.py     whether images to be measured on are ones that trained the model
    calibration.py    temperature and vector scaling; ECE, Brier score, loss
    familiarity.py    centres of each class's features, and the threshold below which an image is a stranger
    strangers.py      images of something else told from a run's own, by three scores
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
    calibrate.py      the walk behind `catseye calibrate`
    corrected.py      runs with and without corrections, on the same corrected images
    compare.py        the walk behind `catseye compare`
    evaluate.py       the walk behind `catseye evaluate`
    answered.py       the answer to every image: as a table, and the mistakes with their images
"""

"""One file per estimator; the file name is the estimator's name everywhere."""

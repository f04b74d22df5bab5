"""What do all classifiers of time series have in common? Everything but the network.

`base` is the estimator, `preparation` what is done to series, `training` the run, `storage` the
file. Kinds of networks are `sparsewire.timeseries.dsn` and `sparsewire.timeseries.recurrent`.
"""

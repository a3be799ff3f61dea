"""What lies on disk: annotations, words, features, prepared data sets, logit caches and weights. No torch."""

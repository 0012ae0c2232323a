"""Step 4 of 7, segment: pixels and concepts -> what SAM3 finds, as `PairResult`."""

"""Benchmarks: poolhouse beside its peers, in one process, interleaved round by round.

    make bench        everything; writes docs/benchmarks.md and docs/plots
    make bench-check  the short form; fails when a ratio fell behind benches/baseline.json

**Why ratios.** A nanosecond of one machine is not one of another, and a shared machine is not even equal to itself a
minute later. So every sample of poolhouse has a sample of each peer beside it, taken in the same round, and what is
stated is the ratio of the two: median of all rounds, with the least and the greatest.

A *work* (:mod:`benches.works`) is one thing measured; it yields series of samples and named figures
(:mod:`benches.model`). A *claim* (:mod:`benches.claims`) is a figure with a bound. *Peers* (:mod:`benches.peers`)
are the pools, each with connections that do nothing, so that the pool alone is measured.
"""

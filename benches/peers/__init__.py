"""The pools, behind one face each for threads (:mod:`benches.peers.threads`) and tasks (:mod:`benches.peers.tasks`).

The face adds nothing to a cycle: what is called in a measured loop is the pool's own bound method.
"""

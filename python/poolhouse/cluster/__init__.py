"""Several servers that hold the same data: which one the next borrower gets, and what happens when one fails.

==============  ====================================================================================
``codes``       the table: what an error says of a node, and where its statement may go next
``breaker``     whether a node gets borrowers: closed, suspect, open
``node``        what is known of one node, and its share
``balance``     the policies that choose among nodes
``nodes``       the nodes together: who is in turn, aside, or out
``route``       how one borrow goes from node to node, and one statement from attempt to attempt
``member``      a node with its pools, which are replaced when it is out
``group``       the members, and what is due for them: probes, discovery, addresses
``lend``        borrowing, for threads; ``asyncio``: for tasks
``face``        what stands where an engine's pool would; ``sync``, ``asyncio``: with the calls
``statements``  ``query`` and its like, which go on to another node
``discover``    which nodes there are, as ``system.clusters`` says it
``dns``         when a host's name means other addresses than before
``sticky``      reading what one has just written
``balancer``    choosing among configurations, for programs that make their own engines
==============  ====================================================================================

The first six decide and do nothing else: they are told the time and what happened. It sits above the pool and below the
engine: a node's pool knows nothing of the others.
"""

"""The cluster under test: real nodes as processes on loopback ports, and the network between them.

    wires.py      what one direction between two parties does to bytes
    gates.py      the TCP proxies that everybody reaches a node by
    origins.py    which process is at the other end of a loopback connection
    layout.py     ports, directories and configuration files
    node_process.py  one node: started, signalled, waited for
    admin.py      the public API, as an operator would call it
    control.py    commands to a node on a disk of ours (`holdfast_chaos.node`)
    cluster.py    all of them together

Nothing here knows the server's code: nodes are started by the name of their module.
"""

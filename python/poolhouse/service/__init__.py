"""What a service does around a pool: drain it, watch its health, close it at exit, choose its size, have several."""

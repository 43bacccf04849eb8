"""Where particles are: periodic boxes, neighbour pairs, batches of frames."""

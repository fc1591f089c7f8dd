"""What a live blog is: values and the rules on them, without I/O, clock or Redis."""

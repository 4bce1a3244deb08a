"""Alignment by questions: is what a caption says in the image, question by question?

``base`` says what questions of captions are; a benchmark each (``dpg``, ``compbench``, ``bindings``, ``geneval2``) reads
its own file and averages answers as its authors do; ``world`` makes questions of the embedded world's
captions; ``choosing`` finds what a name stands for; ``vqa`` answers; ``asking`` asks about the images of a
run and keeps every answer.
"""

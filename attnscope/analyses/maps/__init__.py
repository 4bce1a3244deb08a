"""Where in the image does the model attend to each word, and when?"""

"""When does attention converge, and is it attention that does?"""

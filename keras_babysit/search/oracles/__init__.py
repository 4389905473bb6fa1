"""How a search chooses what to try: methods, oracles, stages and pruners."""

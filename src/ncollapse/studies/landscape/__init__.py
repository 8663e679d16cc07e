"""Study: does descent find the certified optimum, and are all other critical points saddles?"""

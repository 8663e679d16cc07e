"""Study: does a fixed frame help the rare classes of a long tail?"""

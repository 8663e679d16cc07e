"""Study: does a push against collapse keep features useful for classes that come later?"""

"""Study: does the thermostat hold what `measure` reads, and does the set point matter?"""

"""Study: without decay, where does gradient flow go, and when do minorities merge under norms?"""

"""Looking ahead: will a numeric field pass a threshold within a horizon, and how sure is that?"""

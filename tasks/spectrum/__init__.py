"""The task `spectrum`: which resonances are there in a mass spectrum, and how many events has each?"""

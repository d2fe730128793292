"""The process that makes the probes of monitors: standard library only, one for each agent.

A probe that hangs, forks or floods harms this process or its children, never the agent.
`adapters.linux.probes` starts it, speaks to it and kills it when it does not answer.
"""

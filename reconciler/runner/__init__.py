"""Process holder: one small process for each workload, so that no workload depends on the agent.

Standard library only. `adapters.linux.holders` starts `python -S -m reconciler.runner` once, which
forks a holder for each workload, with a control socket as descriptor 3; everything else is in the
directory of the runner:

    <run directory>/runners/<resource>/runner.json   what runs (record.py), replaced as a whole
                                       socket        stop and watch, one JSON object a line
                                       lock          held while the runner lives
                                       output.log    what the workload wrote, with one older file
"""

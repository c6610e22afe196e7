"""Which methods suit a log, with reasons, before anything is trained."""

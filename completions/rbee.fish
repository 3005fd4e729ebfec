complete --keep-order --exclusive --command rbee --arguments "(RBEE_COMPLETE=fish rbee -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"

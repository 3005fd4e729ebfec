
set edit:completion:arg-completer[rbee] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) RBEE_COMPLETE="elvish" rbee -- $@words) | to-lines
}


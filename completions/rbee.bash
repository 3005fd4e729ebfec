# Completes rbee in bash.
_rbee() {
    # The words up to the cursor as they were typed: bash divides them at : and = as well.
    local words=() last=-1 rest=$COMP_LINE blank word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        blank=${rest%%[![:blank:]]*}
        rest=${rest#"$blank"}
        rest=${rest#"$word"}
        if [[ -n $blank || $i == 0 ]]; then
            last=$((last + 1))
        fi
        if ((i == COMP_CWORD)) && [[ $word != [:=]* ]]; then
            word=$2
        fi
        words[last]=${words[last]-}$word
    done

    # What bash replaces is what follows the last : or =.
    local before=${words[last]%"$2"}
    COMPREPLY=()
    while IFS= read -r word; do
        # Within quotes, a backslash would be part of the word.
        if [[ ${COMP_WORDS[COMP_CWORD]} != [\"\']* || $word != *\\* ]]; then
            COMPREPLY+=("${word#"$before"}")
        fi
    done < <(RBEE_COMPLETE=bash 'rbee' -- "${words[@]}" 2>/dev/null </dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
    complete -o bashdefault -o nosort -F _rbee rbee
else
    complete -o bashdefault -F _rbee rbee
fi

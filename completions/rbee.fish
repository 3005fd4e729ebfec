# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rbee_global_optspecs
    string join \n output= q/quiet v/verbose narration= color= h/help V/version
end

function __fish_rbee_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rbee_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rbee_using_subcommand
    set -l cmd (__fish_rbee_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rbee -n "__fish_rbee_needs_command" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_needs_command" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_needs_command" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_needs_command" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_needs_command" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_needs_command" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "infer" -d 'Answer a prompt with a model\'s tokens, as they come'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "embed" -d 'Turn texts into vectors that tell how near they are in meaning'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "status" -d 'Tell about the queen, its hives and their workers'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "hive" -d 'Look at hives, the machines, and pause them'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "worker" -d 'Look at workers, the processes that each run one model, start and stop them'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "model" -d 'Bring models, look at them, take them away'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "job" -d 'Look at jobs, read them again, cancel them'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "key" -d 'Give others keys of their own, and revoke them'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "events" -d 'Show what happens to the service: jobs, hives, workers, keys'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "queen" -d 'Start, stop and examine the queen: the daemon that takes the jobs'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "doctor" -d 'Look for what keeps rbee from working, and say what to do about it'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "uninstall" -d 'Stop the daemons, and remove what rbee has written on this machine'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "completions" -d 'Print what makes a shell complete `rbee` commands'
complete -c rbee -n "__fish_rbee_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -s m -l model -d 'A model\'s name (see `rbee model list`), or the path of a .gguf file' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l system -d 'Instructions that stand before the prompt' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l tools -d 'A file with a JSON list of tools that the model may ask for; what it asks for is printed' -r -F
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l max-tokens -d 'Generate at most so many tokens' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l stop -d 'End the answer before this text; can be given several times' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l json-schema -d 'Answer with JSON that meets this JSON Schema: a file, or the schema itself; `true` for any JSON' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l grammar -d 'Answer with a text of the grammar in this file, which is written in GBNF' -r -F
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l logprobs -d 'Tell how likely each token was, and N others in its place; with `--output json` or `ndjson`' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l temperature -d 'How freely to choose tokens: 0 always takes the likeliest; 0.8 if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l top-k -d 'Choose among the N likeliest tokens; 0 for all, 40 if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l top-p -d 'Choose among the likeliest tokens that make up this probability together, 0 to 1; 0.95 if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l min-p -d 'Choose among tokens at least this likely compared with the likeliest, 0 to 1; 0.05 if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l typical-p -d 'Choose among the most typical tokens that make up this probability together, above 0 up to 1; 1, for all, if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l repetition-penalty -d 'Make tokens that came lately less likely: above 0 up to 10, where 1 does nothing and less makes them likelier' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l presence-penalty -d 'Make tokens that came lately less likely by this much, -2 to 2' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l frequency-penalty -d 'Make tokens that came lately less likely by this much for each time, -2 to 2' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l seed -d 'Makes the choice of tokens repeatable, as far as no other job is answered at the same time' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l keep-alive -d 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l raw -d 'Go on with the prompt as it stands, without the model\'s chat template; for models that have none'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l truncate -d 'Instead of refusing what does not fit, leave out the oldest messages of a chat, or with `--raw` the beginning'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l no-stdin -d 'Leave stdin alone, e.g. in a loop that reads it'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l detach -d 'Print the job\'s id and leave; `rbee job attach` follows it from anywhere'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -l dry-run -d 'Answer nothing, and tell where the answer would be computed and why'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand infer" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -s m -l model -d 'A model\'s name (see `rbee model list`), or the path of a .gguf file' -r
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l keep-alive -d 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l truncate -d 'Cut off at a text\'s end what the model does not take, where such a text is refused otherwise'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -l no-stdin -d 'Leave stdin alone, e.g. in a loop that reads it'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand embed" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand status" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand status" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand status" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand status" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand status" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand status" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -f -a "status" -d 'Tell about one hive: devices, memory, models, workers'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -f -a "list" -d 'List the hives'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -f -a "pause" -d 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -f -a "resume" -d 'Have a hive that was paused go on. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and not __fish_seen_subcommand_from status list pause resume help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from pause" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from resume" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "status" -d 'Tell about one hive: devices, memory, models, workers'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the hives'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "pause" -d 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Have a hive that was paused go on. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "list" -d 'List the workers of all hives'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "start" -d 'Load a model before anybody asks for it. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "stop" -d 'End a worker at once; the jobs that it has fail. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "drain" -d 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "logs" -d 'Print the end of the workers\' log, which they share'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and not __fish_seen_subcommand_from list start stop drain logs help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -s m -l model -d 'A model\'s name (see `rbee model list`), or the path of a .gguf file' -r
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -l keep-alive -d 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent' -r
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -l pin -d 'Never unload it to make room for another'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from start" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -l deadline -d 'What has not ended by then fails' -r
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from drain" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s n -l lines -d 'So many lines' -r
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s f -l follow -d 'Go on with what is added, until Ctrl-C'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from logs" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the workers of all hives'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "start" -d 'Load a model before anybody asks for it. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "stop" -d 'End a worker at once; the jobs that it has fail. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "drain" -d 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "logs" -d 'Print the end of the workers\' log, which they share'
complete -c rbee -n "__fish_rbee_using_subcommand worker; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "list" -d 'List the models of all hives, and the aliases'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "pull" -d 'Download a model, or go on with a download'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "show" -d 'Tell about one model: what it is, where it came from, what it takes'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "rm" -d 'Take a model off the disk, but for what other models need. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "search" -d 'Look for models that could be pulled: in a short list of rbee\'s own, then on Hugging Face'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "verify" -d 'Compare models\' files with what they were when they came. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "alias" -d 'Have a name of your choice stand for a model'
complete -c rbee -n "__fish_rbee_using_subcommand model; and not __fish_seen_subcommand_from list pull show rm search verify alias help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from pull" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -l limit -d 'So many at most' -r
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from search" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -l remove -d 'Have it stand for nothing any more'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from alias" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the models of all hives, and the aliases'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "pull" -d 'Download a model, or go on with a download'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "show" -d 'Tell about one model: what it is, where it came from, what it takes'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "rm" -d 'Take a model off the disk, but for what other models need. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "search" -d 'Look for models that could be pulled: in a short list of rbee\'s own, then on Hugging Face'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Compare models\' files with what they were when they came. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "alias" -d 'Have a name of your choice stand for a model'
complete -c rbee -n "__fish_rbee_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "list" -d 'List your jobs, newest first'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "show" -d 'Tell about one job'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "attach" -d 'Follow a job as if this command had started it'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "explain" -d 'Tell why a job runs where it does: which hives and workers were considered, and why'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "logs" -d 'Print what a job printed, and follow it while it runs'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "cancel" -d 'Cancel a job, and wait until it has ended'
complete -c rbee -n "__fish_rbee_using_subcommand job; and not __fish_seen_subcommand_from list show attach explain logs cancel help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -l all -d 'The jobs of everybody, with their owners'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from attach" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from logs" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from cancel" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "list" -d 'List your jobs, newest first'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "show" -d 'Tell about one job'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "attach" -d 'Follow a job as if this command had started it'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Tell why a job runs where it does: which hives and workers were considered, and why'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "logs" -d 'Print what a job printed, and follow it while it runs'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "cancel" -d 'Cancel a job, and wait until it has ended'
complete -c rbee -n "__fish_rbee_using_subcommand job; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -f -a "create" -d 'Make a key and print it, this once'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -f -a "list" -d 'List the keys, which are not shown themselves'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -f -a "revoke" -d 'Revoke a key at once, and cut what its holder is reading'
complete -c rbee -n "__fish_rbee_using_subcommand key; and not __fish_seen_subcommand_from create list revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -l role -d 'What they may do' -r -f -a "user\t'Have jobs of their own'
operator\t'Also give and revoke keys, see and cancel everybody\'s jobs, and stop the queen'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from create" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from revoke" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make a key and print it, this once'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the keys, which are not shown themselves'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke a key at once, and cut what its holder is reading'
complete -c rbee -n "__fish_rbee_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand events" -l after -d 'Begin after the event of this number' -r
complete -c rbee -n "__fish_rbee_using_subcommand events" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand events" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand events" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand events" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand events" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand events" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "start" -d 'Start the queen, unless it runs already'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "stop" -d 'Stop the queen, the hive on its machine, and the hive\'s workers'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "status" -d 'Say whether the queen runs; the exit code is 69 when it does not'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "logs" -d 'Print the end of the queen\'s log'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "run" -d 'Be the queen, in the foreground'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "install" -d 'Have the system start the queen when you log in, as a service of yours, and again when it fails'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and not __fish_seen_subcommand_from start stop status logs run install help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from start" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -l keep-hive -d 'Leave the hive running'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s n -l lines -d 'So many lines' -r
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s f -l follow -d 'Go on with what is added, until Ctrl-C'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from logs" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from run" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -l now -d 'Enable and start it, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -l dry-run -d 'Print what would be written'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from install" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "start" -d 'Start the queen, unless it runs already'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Stop the queen, the hive on its machine, and the hive\'s workers'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "status" -d 'Say whether the queen runs; the exit code is 69 when it does not'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "logs" -d 'Print the end of the queen\'s log'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "run" -d 'Be the queen, in the foreground'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "install" -d 'Have the system start the queen when you log in, as a service of yours, and again when it fails'
complete -c rbee -n "__fish_rbee_using_subcommand queen; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -l bundle -d 'Write what was found, versions, settings, events and the ends of logs to a file, for a report of a bug; without prompts, answers and keys' -r -F
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -l overwrite -d 'Write over the file if it is there'
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -l dry-run -d 'Only list what would be removed'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -l models -d 'Also remove the models that rbee has downloaded'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -s y -l yes -d 'Do not ask'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand uninstall" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand completions" -l output -d 'The form of the answer on stdout' -r -f -a "text\t'For people, and the tokens as they come'
json\t'One JSON value at the end'
ndjson\t'The job\'s events, each as a line of JSON as it comes'"
complete -c rbee -n "__fish_rbee_using_subcommand completions" -l narration -d 'Where the lines go in which the service tells what it does' -r -f -a "stderr\t'Beside the answer'
stdout\t'Among the answer, for scripts that pipe the lines themselves'
off\t'Nowhere'"
complete -c rbee -n "__fish_rbee_using_subcommand completions" -l color -d 'Whether to use colours; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal'
always\t'Also into a pipe'
never\t'Not at all'"
complete -c rbee -n "__fish_rbee_using_subcommand completions" -s q -l quiet -d 'No narration, no progress, no notes; errors stay'
complete -c rbee -n "__fish_rbee_using_subcommand completions" -s v -l verbose -d 'Show the lines meant for whoever looks into a problem, too'
complete -c rbee -n "__fish_rbee_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbee -n "__fish_rbee_using_subcommand completions" -s V -l version -d 'Print version'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "infer" -d 'Answer a prompt with a model\'s tokens, as they come'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "embed" -d 'Turn texts into vectors that tell how near they are in meaning'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "status" -d 'Tell about the queen, its hives and their workers'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "hive" -d 'Look at hives, the machines, and pause them'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "worker" -d 'Look at workers, the processes that each run one model, start and stop them'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "model" -d 'Bring models, look at them, take them away'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "job" -d 'Look at jobs, read them again, cancel them'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "key" -d 'Give others keys of their own, and revoke them'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "events" -d 'Show what happens to the service: jobs, hives, workers, keys'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "queen" -d 'Start, stop and examine the queen: the daemon that takes the jobs'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "doctor" -d 'Look for what keeps rbee from working, and say what to do about it'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "uninstall" -d 'Stop the daemons, and remove what rbee has written on this machine'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "completions" -d 'Print what makes a shell complete `rbee` commands'
complete -c rbee -n "__fish_rbee_using_subcommand help; and not __fish_seen_subcommand_from infer embed status hive worker model job key events queen doctor uninstall completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "status" -d 'Tell about one hive: devices, memory, models, workers'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "list" -d 'List the hives'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "pause" -d 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "resume" -d 'Have a hive that was paused go on. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from worker" -f -a "list" -d 'List the workers of all hives'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from worker" -f -a "start" -d 'Load a model before anybody asks for it. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from worker" -f -a "stop" -d 'End a worker at once; the jobs that it has fail. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from worker" -f -a "drain" -d 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from worker" -f -a "logs" -d 'Print the end of the workers\' log, which they share'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "list" -d 'List the models of all hives, and the aliases'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "pull" -d 'Download a model, or go on with a download'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "show" -d 'Tell about one model: what it is, where it came from, what it takes'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "rm" -d 'Take a model off the disk, but for what other models need. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "search" -d 'Look for models that could be pulled: in a short list of rbee\'s own, then on Hugging Face'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "verify" -d 'Compare models\' files with what they were when they came. For operators'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "alias" -d 'Have a name of your choice stand for a model'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "list" -d 'List your jobs, newest first'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "show" -d 'Tell about one job'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "attach" -d 'Follow a job as if this command had started it'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "explain" -d 'Tell why a job runs where it does: which hives and workers were considered, and why'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "logs" -d 'Print what a job printed, and follow it while it runs'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from job" -f -a "cancel" -d 'Cancel a job, and wait until it has ended'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "create" -d 'Make a key and print it, this once'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "list" -d 'List the keys, which are not shown themselves'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "revoke" -d 'Revoke a key at once, and cut what its holder is reading'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "start" -d 'Start the queen, unless it runs already'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "stop" -d 'Stop the queen, the hive on its machine, and the hive\'s workers'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "status" -d 'Say whether the queen runs; the exit code is 69 when it does not'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "logs" -d 'Print the end of the queen\'s log'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "run" -d 'Be the queen, in the foreground'
complete -c rbee -n "__fish_rbee_using_subcommand help; and __fish_seen_subcommand_from queen" -f -a "install" -d 'Have the system start the queen when you log in, as a service of yours, and again when it fails'

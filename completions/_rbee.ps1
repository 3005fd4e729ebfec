
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'rbee' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'rbee'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'rbee' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('infer', 'infer', [CompletionResultType]::ParameterValue, 'Answer a prompt with a model''s tokens, as they come')
            [CompletionResult]::new('embed', 'embed', [CompletionResultType]::ParameterValue, 'Turn texts into vectors that tell how near they are in meaning')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell about the queen, its hives and their workers')
            [CompletionResult]::new('hive', 'hive', [CompletionResultType]::ParameterValue, 'Look at hives, the machines, and pause them')
            [CompletionResult]::new('worker', 'worker', [CompletionResultType]::ParameterValue, 'Look at workers, the processes that each run one model, start and stop them')
            [CompletionResult]::new('model', 'model', [CompletionResultType]::ParameterValue, 'Bring models, look at them, take them away')
            [CompletionResult]::new('job', 'job', [CompletionResultType]::ParameterValue, 'Look at jobs, read them again, cancel them')
            [CompletionResult]::new('key', 'key', [CompletionResultType]::ParameterValue, 'Give others keys of their own, and revoke them')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show what happens to the service: jobs, hives, workers, keys')
            [CompletionResult]::new('queen', 'queen', [CompletionResultType]::ParameterValue, 'Start, stop and examine the queen: the daemon that takes the jobs')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Look for what keeps rbee from working, and say what to do about it')
            [CompletionResult]::new('uninstall', 'uninstall', [CompletionResultType]::ParameterValue, 'Stop the daemons, and remove what rbee has written on this machine')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print what makes a shell complete `rbee` commands')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;infer' {
            [CompletionResult]::new('-m', '-m', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--model', '--model', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--system', '--system', [CompletionResultType]::ParameterName, 'Instructions that stand before the prompt')
            [CompletionResult]::new('--tools', '--tools', [CompletionResultType]::ParameterName, 'A file with a JSON list of tools that the model may ask for; what it asks for is printed')
            [CompletionResult]::new('--max-tokens', '--max-tokens', [CompletionResultType]::ParameterName, 'Generate at most so many tokens')
            [CompletionResult]::new('--stop', '--stop', [CompletionResultType]::ParameterName, 'End the answer before this text; can be given several times')
            [CompletionResult]::new('--json-schema', '--json-schema', [CompletionResultType]::ParameterName, 'Answer with JSON that meets this JSON Schema: a file, or the schema itself; `true` for any JSON')
            [CompletionResult]::new('--grammar', '--grammar', [CompletionResultType]::ParameterName, 'Answer with a text of the grammar in this file, which is written in GBNF')
            [CompletionResult]::new('--logprobs', '--logprobs', [CompletionResultType]::ParameterName, 'Tell how likely each token was, and N others in its place; with `--output json` or `ndjson`')
            [CompletionResult]::new('--temperature', '--temperature', [CompletionResultType]::ParameterName, 'How freely to choose tokens: 0 always takes the likeliest; 0.8 if absent')
            [CompletionResult]::new('--top-k', '--top-k', [CompletionResultType]::ParameterName, 'Choose among the N likeliest tokens; 0 for all, 40 if absent')
            [CompletionResult]::new('--top-p', '--top-p', [CompletionResultType]::ParameterName, 'Choose among the likeliest tokens that make up this probability together, 0 to 1; 0.95 if absent')
            [CompletionResult]::new('--min-p', '--min-p', [CompletionResultType]::ParameterName, 'Choose among tokens at least this likely compared with the likeliest, 0 to 1; 0.05 if absent')
            [CompletionResult]::new('--typical-p', '--typical-p', [CompletionResultType]::ParameterName, 'Choose among the most typical tokens that make up this probability together, above 0 up to 1; 1, for all, if absent')
            [CompletionResult]::new('--repetition-penalty', '--repetition-penalty', [CompletionResultType]::ParameterName, 'Make tokens that came lately less likely: above 0 up to 10, where 1 does nothing and less makes them likelier')
            [CompletionResult]::new('--presence-penalty', '--presence-penalty', [CompletionResultType]::ParameterName, 'Make tokens that came lately less likely by this much, -2 to 2')
            [CompletionResult]::new('--frequency-penalty', '--frequency-penalty', [CompletionResultType]::ParameterName, 'Make tokens that came lately less likely by this much for each time, -2 to 2')
            [CompletionResult]::new('--seed', '--seed', [CompletionResultType]::ParameterName, 'Makes the choice of tokens repeatable, as far as no other job is answered at the same time')
            [CompletionResult]::new('--keep-alive', '--keep-alive', [CompletionResultType]::ParameterName, 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--raw', '--raw', [CompletionResultType]::ParameterName, 'Go on with the prompt as it stands, without the model''s chat template; for models that have none')
            [CompletionResult]::new('--truncate', '--truncate', [CompletionResultType]::ParameterName, 'Instead of refusing what does not fit, leave out the oldest messages of a chat, or with `--raw` the beginning')
            [CompletionResult]::new('--no-stdin', '--no-stdin', [CompletionResultType]::ParameterName, 'Leave stdin alone, e.g. in a loop that reads it')
            [CompletionResult]::new('--detach', '--detach', [CompletionResultType]::ParameterName, 'Print the job''s id and leave; `rbee job attach` follows it from anywhere')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Answer nothing, and tell where the answer would be computed and why')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;embed' {
            [CompletionResult]::new('-m', '-m', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--model', '--model', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--keep-alive', '--keep-alive', [CompletionResultType]::ParameterName, 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--truncate', '--truncate', [CompletionResultType]::ParameterName, 'Cut off at a text''s end what the model does not take, where such a text is refused otherwise')
            [CompletionResult]::new('--no-stdin', '--no-stdin', [CompletionResultType]::ParameterName, 'Leave stdin alone, e.g. in a loop that reads it')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;status' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;hive' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell about one hive: devices, memory, models, workers')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the hives')
            [CompletionResult]::new('pause', 'pause', [CompletionResultType]::ParameterValue, 'Have a hive begin no more work for models, and unload those that nobody uses. For operators')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Have a hive that was paused go on. For operators')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;hive;status' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;hive;list' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;hive;pause' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;hive;resume' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;hive;help' {
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell about one hive: devices, memory, models, workers')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the hives')
            [CompletionResult]::new('pause', 'pause', [CompletionResultType]::ParameterValue, 'Have a hive begin no more work for models, and unload those that nobody uses. For operators')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Have a hive that was paused go on. For operators')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;hive;help;status' {
            break
        }
        'rbee;hive;help;list' {
            break
        }
        'rbee;hive;help;pause' {
            break
        }
        'rbee;hive;help;resume' {
            break
        }
        'rbee;hive;help;help' {
            break
        }
        'rbee;worker' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the workers of all hives')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Load a model before anybody asks for it. For operators')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'End a worker at once; the jobs that it has fail. For operators')
            [CompletionResult]::new('drain', 'drain', [CompletionResultType]::ParameterValue, 'Have a worker take no more jobs, and end when it has done those that it has. For operators')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the workers'' log, which they share')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;worker;list' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;worker;start' {
            [CompletionResult]::new('-m', '-m', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--model', '--model', [CompletionResultType]::ParameterName, 'A model''s name (see `rbee model list`), or the path of a .gguf file')
            [CompletionResult]::new('--keep-alive', '--keep-alive', [CompletionResultType]::ParameterName, 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--pin', '--pin', [CompletionResultType]::ParameterName, 'Never unload it to make room for another')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;worker;stop' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;worker;drain' {
            [CompletionResult]::new('--deadline', '--deadline', [CompletionResultType]::ParameterName, 'What has not ended by then fails')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;worker;logs' {
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'So many lines')
            [CompletionResult]::new('--lines', '--lines', [CompletionResultType]::ParameterName, 'So many lines')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with what is added, until Ctrl-C')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with what is added, until Ctrl-C')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;worker;help' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the workers of all hives')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Load a model before anybody asks for it. For operators')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'End a worker at once; the jobs that it has fail. For operators')
            [CompletionResult]::new('drain', 'drain', [CompletionResultType]::ParameterValue, 'Have a worker take no more jobs, and end when it has done those that it has. For operators')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the workers'' log, which they share')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;worker;help;list' {
            break
        }
        'rbee;worker;help;start' {
            break
        }
        'rbee;worker;help;stop' {
            break
        }
        'rbee;worker;help;drain' {
            break
        }
        'rbee;worker;help;logs' {
            break
        }
        'rbee;worker;help;help' {
            break
        }
        'rbee;model' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the models of all hives, and the aliases')
            [CompletionResult]::new('pull', 'pull', [CompletionResultType]::ParameterValue, 'Download a model, or go on with a download')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one model: what it is, where it came from, what it takes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Take a model off the disk, but for what other models need. For operators')
            [CompletionResult]::new('search', 'search', [CompletionResultType]::ParameterValue, 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Compare models'' files with what they were when they came. For operators')
            [CompletionResult]::new('alias', 'alias', [CompletionResultType]::ParameterValue, 'Have a name of your choice stand for a model')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;model;list' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;pull' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;show' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;rm' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;search' {
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'So many at most')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;verify' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;alias' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--remove', '--remove', [CompletionResultType]::ParameterName, 'Have it stand for nothing any more')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;model;help' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the models of all hives, and the aliases')
            [CompletionResult]::new('pull', 'pull', [CompletionResultType]::ParameterValue, 'Download a model, or go on with a download')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one model: what it is, where it came from, what it takes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Take a model off the disk, but for what other models need. For operators')
            [CompletionResult]::new('search', 'search', [CompletionResultType]::ParameterValue, 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Compare models'' files with what they were when they came. For operators')
            [CompletionResult]::new('alias', 'alias', [CompletionResultType]::ParameterValue, 'Have a name of your choice stand for a model')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;model;help;list' {
            break
        }
        'rbee;model;help;pull' {
            break
        }
        'rbee;model;help;show' {
            break
        }
        'rbee;model;help;rm' {
            break
        }
        'rbee;model;help;search' {
            break
        }
        'rbee;model;help;verify' {
            break
        }
        'rbee;model;help;alias' {
            break
        }
        'rbee;model;help;help' {
            break
        }
        'rbee;job' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List your jobs, newest first')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one job')
            [CompletionResult]::new('attach', 'attach', [CompletionResultType]::ParameterValue, 'Follow a job as if this command had started it')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Tell why a job runs where it does: which hives and workers were considered, and why')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print what a job printed, and follow it while it runs')
            [CompletionResult]::new('cancel', 'cancel', [CompletionResultType]::ParameterValue, 'Cancel a job, and wait until it has ended')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;job;list' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'The jobs of everybody, with their owners')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;show' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;attach' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;explain' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;logs' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;cancel' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;job;help' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List your jobs, newest first')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one job')
            [CompletionResult]::new('attach', 'attach', [CompletionResultType]::ParameterValue, 'Follow a job as if this command had started it')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Tell why a job runs where it does: which hives and workers were considered, and why')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print what a job printed, and follow it while it runs')
            [CompletionResult]::new('cancel', 'cancel', [CompletionResultType]::ParameterValue, 'Cancel a job, and wait until it has ended')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;job;help;list' {
            break
        }
        'rbee;job;help;show' {
            break
        }
        'rbee;job;help;attach' {
            break
        }
        'rbee;job;help;explain' {
            break
        }
        'rbee;job;help;logs' {
            break
        }
        'rbee;job;help;cancel' {
            break
        }
        'rbee;job;help;help' {
            break
        }
        'rbee;key' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a key and print it, this once')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the keys, which are not shown themselves')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Revoke a key at once, and cut what its holder is reading')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;key;create' {
            [CompletionResult]::new('--role', '--role', [CompletionResultType]::ParameterName, 'What they may do')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;key;list' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;key;revoke' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;key;help' {
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a key and print it, this once')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the keys, which are not shown themselves')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Revoke a key at once, and cut what its holder is reading')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;key;help;create' {
            break
        }
        'rbee;key;help;list' {
            break
        }
        'rbee;key;help;revoke' {
            break
        }
        'rbee;key;help;help' {
            break
        }
        'rbee;events' {
            [CompletionResult]::new('--after', '--after', [CompletionResultType]::ParameterName, 'Begin after the event of this number')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Start the queen, unless it runs already')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Stop the queen, the hive on its machine, and the hive''s workers')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Say whether the queen runs; the exit code is 69 when it does not')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the queen''s log')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Be the queen, in the foreground')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Have the system start the queen when you log in, as a service of yours, and again when it fails')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;queen;start' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;stop' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--keep-hive', '--keep-hive', [CompletionResultType]::ParameterName, 'Leave the hive running')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;status' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;logs' {
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'So many lines')
            [CompletionResult]::new('--lines', '--lines', [CompletionResultType]::ParameterName, 'So many lines')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with what is added, until Ctrl-C')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with what is added, until Ctrl-C')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;run' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;install' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--now', '--now', [CompletionResultType]::ParameterName, 'Enable and start it, too')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be written')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;queen;help' {
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Start the queen, unless it runs already')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Stop the queen, the hive on its machine, and the hive''s workers')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Say whether the queen runs; the exit code is 69 when it does not')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the queen''s log')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Be the queen, in the foreground')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Have the system start the queen when you log in, as a service of yours, and again when it fails')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;queen;help;start' {
            break
        }
        'rbee;queen;help;stop' {
            break
        }
        'rbee;queen;help;status' {
            break
        }
        'rbee;queen;help;logs' {
            break
        }
        'rbee;queen;help;run' {
            break
        }
        'rbee;queen;help;install' {
            break
        }
        'rbee;queen;help;help' {
            break
        }
        'rbee;doctor' {
            [CompletionResult]::new('--bundle', '--bundle', [CompletionResultType]::ParameterName, 'Write what was found, versions, settings, events and the ends of logs to a file, for a report of a bug; without prompts, answers and keys')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--overwrite', '--overwrite', [CompletionResultType]::ParameterName, 'Write over the file if it is there')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;uninstall' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Only list what would be removed')
            [CompletionResult]::new('--models', '--models', [CompletionResultType]::ParameterName, 'Also remove the models that rbee has downloaded')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Do not ask')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;completions' {
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'The form of the answer on stdout')
            [CompletionResult]::new('--narration', '--narration', [CompletionResultType]::ParameterName, 'Where the lines go in which the service tells what it does')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Whether to use colours; NO_COLOR is honoured')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'No narration, no progress, no notes; errors stay')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show the lines meant for whoever looks into a problem, too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'rbee;help' {
            [CompletionResult]::new('infer', 'infer', [CompletionResultType]::ParameterValue, 'Answer a prompt with a model''s tokens, as they come')
            [CompletionResult]::new('embed', 'embed', [CompletionResultType]::ParameterValue, 'Turn texts into vectors that tell how near they are in meaning')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell about the queen, its hives and their workers')
            [CompletionResult]::new('hive', 'hive', [CompletionResultType]::ParameterValue, 'Look at hives, the machines, and pause them')
            [CompletionResult]::new('worker', 'worker', [CompletionResultType]::ParameterValue, 'Look at workers, the processes that each run one model, start and stop them')
            [CompletionResult]::new('model', 'model', [CompletionResultType]::ParameterValue, 'Bring models, look at them, take them away')
            [CompletionResult]::new('job', 'job', [CompletionResultType]::ParameterValue, 'Look at jobs, read them again, cancel them')
            [CompletionResult]::new('key', 'key', [CompletionResultType]::ParameterValue, 'Give others keys of their own, and revoke them')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show what happens to the service: jobs, hives, workers, keys')
            [CompletionResult]::new('queen', 'queen', [CompletionResultType]::ParameterValue, 'Start, stop and examine the queen: the daemon that takes the jobs')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Look for what keeps rbee from working, and say what to do about it')
            [CompletionResult]::new('uninstall', 'uninstall', [CompletionResultType]::ParameterValue, 'Stop the daemons, and remove what rbee has written on this machine')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print what makes a shell complete `rbee` commands')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'rbee;help;infer' {
            break
        }
        'rbee;help;embed' {
            break
        }
        'rbee;help;status' {
            break
        }
        'rbee;help;hive' {
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell about one hive: devices, memory, models, workers')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the hives')
            [CompletionResult]::new('pause', 'pause', [CompletionResultType]::ParameterValue, 'Have a hive begin no more work for models, and unload those that nobody uses. For operators')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Have a hive that was paused go on. For operators')
            break
        }
        'rbee;help;hive;status' {
            break
        }
        'rbee;help;hive;list' {
            break
        }
        'rbee;help;hive;pause' {
            break
        }
        'rbee;help;hive;resume' {
            break
        }
        'rbee;help;worker' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the workers of all hives')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Load a model before anybody asks for it. For operators')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'End a worker at once; the jobs that it has fail. For operators')
            [CompletionResult]::new('drain', 'drain', [CompletionResultType]::ParameterValue, 'Have a worker take no more jobs, and end when it has done those that it has. For operators')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the workers'' log, which they share')
            break
        }
        'rbee;help;worker;list' {
            break
        }
        'rbee;help;worker;start' {
            break
        }
        'rbee;help;worker;stop' {
            break
        }
        'rbee;help;worker;drain' {
            break
        }
        'rbee;help;worker;logs' {
            break
        }
        'rbee;help;model' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the models of all hives, and the aliases')
            [CompletionResult]::new('pull', 'pull', [CompletionResultType]::ParameterValue, 'Download a model, or go on with a download')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one model: what it is, where it came from, what it takes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Take a model off the disk, but for what other models need. For operators')
            [CompletionResult]::new('search', 'search', [CompletionResultType]::ParameterValue, 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Compare models'' files with what they were when they came. For operators')
            [CompletionResult]::new('alias', 'alias', [CompletionResultType]::ParameterValue, 'Have a name of your choice stand for a model')
            break
        }
        'rbee;help;model;list' {
            break
        }
        'rbee;help;model;pull' {
            break
        }
        'rbee;help;model;show' {
            break
        }
        'rbee;help;model;rm' {
            break
        }
        'rbee;help;model;search' {
            break
        }
        'rbee;help;model;verify' {
            break
        }
        'rbee;help;model;alias' {
            break
        }
        'rbee;help;job' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List your jobs, newest first')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Tell about one job')
            [CompletionResult]::new('attach', 'attach', [CompletionResultType]::ParameterValue, 'Follow a job as if this command had started it')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Tell why a job runs where it does: which hives and workers were considered, and why')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print what a job printed, and follow it while it runs')
            [CompletionResult]::new('cancel', 'cancel', [CompletionResultType]::ParameterValue, 'Cancel a job, and wait until it has ended')
            break
        }
        'rbee;help;job;list' {
            break
        }
        'rbee;help;job;show' {
            break
        }
        'rbee;help;job;attach' {
            break
        }
        'rbee;help;job;explain' {
            break
        }
        'rbee;help;job;logs' {
            break
        }
        'rbee;help;job;cancel' {
            break
        }
        'rbee;help;key' {
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a key and print it, this once')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the keys, which are not shown themselves')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Revoke a key at once, and cut what its holder is reading')
            break
        }
        'rbee;help;key;create' {
            break
        }
        'rbee;help;key;list' {
            break
        }
        'rbee;help;key;revoke' {
            break
        }
        'rbee;help;events' {
            break
        }
        'rbee;help;queen' {
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Start the queen, unless it runs already')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Stop the queen, the hive on its machine, and the hive''s workers')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Say whether the queen runs; the exit code is 69 when it does not')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Print the end of the queen''s log')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Be the queen, in the foreground')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Have the system start the queen when you log in, as a service of yours, and again when it fails')
            break
        }
        'rbee;help;queen;start' {
            break
        }
        'rbee;help;queen;stop' {
            break
        }
        'rbee;help;queen;status' {
            break
        }
        'rbee;help;queen;logs' {
            break
        }
        'rbee;help;queen;run' {
            break
        }
        'rbee;help;queen;install' {
            break
        }
        'rbee;help;doctor' {
            break
        }
        'rbee;help;uninstall' {
            break
        }
        'rbee;help;completions' {
            break
        }
        'rbee;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}

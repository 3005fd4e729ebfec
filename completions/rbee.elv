
use builtin;
use str;

set edit:completion:arg-completer[rbee] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'rbee'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'rbee'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand infer 'Answer a prompt with a model''s tokens, as they come'
            cand embed 'Turn texts into vectors that tell how near they are in meaning'
            cand status 'Tell about the queen, its hives and their workers'
            cand hive 'Look at hives, the machines, and pause them'
            cand worker 'Look at workers, the processes that each run one model, start and stop them'
            cand model 'Bring models, look at them, take them away'
            cand job 'Look at jobs, read them again, cancel them'
            cand key 'Give others keys of their own, and revoke them'
            cand events 'Show what happens to the service: jobs, hives, workers, keys'
            cand queen 'Start, stop and examine the queen: the daemon that takes the jobs'
            cand doctor 'Look for what keeps rbee from working, and say what to do about it'
            cand uninstall 'Stop the daemons, and remove what rbee has written on this machine'
            cand completions 'Print what makes a shell complete `rbee` commands'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;infer'= {
            cand -m 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --model 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --system 'Instructions that stand before the prompt'
            cand --tools 'A file with a JSON list of tools that the model may ask for; what it asks for is printed'
            cand --max-tokens 'Generate at most so many tokens'
            cand --stop 'End the answer before this text; can be given several times'
            cand --json-schema 'Answer with JSON that meets this JSON Schema: a file, or the schema itself; `true` for any JSON'
            cand --grammar 'Answer with a text of the grammar in this file, which is written in GBNF'
            cand --logprobs 'Tell how likely each token was, and N others in its place; with `--output json` or `ndjson`'
            cand --temperature 'How freely to choose tokens: 0 always takes the likeliest; 0.8 if absent'
            cand --top-k 'Choose among the N likeliest tokens; 0 for all, 40 if absent'
            cand --top-p 'Choose among the likeliest tokens that make up this probability together, 0 to 1; 0.95 if absent'
            cand --min-p 'Choose among tokens at least this likely compared with the likeliest, 0 to 1; 0.05 if absent'
            cand --typical-p 'Choose among the most typical tokens that make up this probability together, above 0 up to 1; 1, for all, if absent'
            cand --repetition-penalty 'Make tokens that came lately less likely: above 0 up to 10, where 1 does nothing and less makes them likelier'
            cand --presence-penalty 'Make tokens that came lately less likely by this much, -2 to 2'
            cand --frequency-penalty 'Make tokens that came lately less likely by this much for each time, -2 to 2'
            cand --seed 'Makes the choice of tokens repeatable, as far as no other job is answered at the same time'
            cand --keep-alive 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --raw 'Go on with the prompt as it stands, without the model''s chat template; for models that have none'
            cand --truncate 'Instead of refusing what does not fit, leave out the oldest messages of a chat, or with `--raw` the beginning'
            cand --no-stdin 'Leave stdin alone, e.g. in a loop that reads it'
            cand --detach 'Print the job''s id and leave; `rbee job attach` follows it from anywhere'
            cand --dry-run 'Answer nothing, and tell where the answer would be computed and why'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;embed'= {
            cand -m 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --model 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --keep-alive 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --truncate 'Cut off at a text''s end what the model does not take, where such a text is refused otherwise'
            cand --no-stdin 'Leave stdin alone, e.g. in a loop that reads it'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;status'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;hive'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand status 'Tell about one hive: devices, memory, models, workers'
            cand list 'List the hives'
            cand pause 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
            cand resume 'Have a hive that was paused go on. For operators'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;hive;status'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;hive;list'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;hive;pause'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;hive;resume'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;hive;help'= {
            cand status 'Tell about one hive: devices, memory, models, workers'
            cand list 'List the hives'
            cand pause 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
            cand resume 'Have a hive that was paused go on. For operators'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;hive;help;status'= {
        }
        &'rbee;hive;help;list'= {
        }
        &'rbee;hive;help;pause'= {
        }
        &'rbee;hive;help;resume'= {
        }
        &'rbee;hive;help;help'= {
        }
        &'rbee;worker'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand list 'List the workers of all hives'
            cand start 'Load a model before anybody asks for it. For operators'
            cand stop 'End a worker at once; the jobs that it has fail. For operators'
            cand drain 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
            cand logs 'Print the end of the workers'' log, which they share'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;worker;list'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;worker;start'= {
            cand -m 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --model 'A model''s name (see `rbee model list`), or the path of a .gguf file'
            cand --keep-alive 'For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --pin 'Never unload it to make room for another'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;worker;stop'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;worker;drain'= {
            cand --deadline 'What has not ended by then fails'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;worker;logs'= {
            cand -n 'So many lines'
            cand --lines 'So many lines'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -f 'Go on with what is added, until Ctrl-C'
            cand --follow 'Go on with what is added, until Ctrl-C'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;worker;help'= {
            cand list 'List the workers of all hives'
            cand start 'Load a model before anybody asks for it. For operators'
            cand stop 'End a worker at once; the jobs that it has fail. For operators'
            cand drain 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
            cand logs 'Print the end of the workers'' log, which they share'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;worker;help;list'= {
        }
        &'rbee;worker;help;start'= {
        }
        &'rbee;worker;help;stop'= {
        }
        &'rbee;worker;help;drain'= {
        }
        &'rbee;worker;help;logs'= {
        }
        &'rbee;worker;help;help'= {
        }
        &'rbee;model'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand list 'List the models of all hives, and the aliases'
            cand pull 'Download a model, or go on with a download'
            cand show 'Tell about one model: what it is, where it came from, what it takes'
            cand rm 'Take a model off the disk, but for what other models need. For operators'
            cand search 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face'
            cand verify 'Compare models'' files with what they were when they came. For operators'
            cand alias 'Have a name of your choice stand for a model'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;model;list'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;pull'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;show'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;rm'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;search'= {
            cand --limit 'So many at most'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;verify'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;alias'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --remove 'Have it stand for nothing any more'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;model;help'= {
            cand list 'List the models of all hives, and the aliases'
            cand pull 'Download a model, or go on with a download'
            cand show 'Tell about one model: what it is, where it came from, what it takes'
            cand rm 'Take a model off the disk, but for what other models need. For operators'
            cand search 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face'
            cand verify 'Compare models'' files with what they were when they came. For operators'
            cand alias 'Have a name of your choice stand for a model'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;model;help;list'= {
        }
        &'rbee;model;help;pull'= {
        }
        &'rbee;model;help;show'= {
        }
        &'rbee;model;help;rm'= {
        }
        &'rbee;model;help;search'= {
        }
        &'rbee;model;help;verify'= {
        }
        &'rbee;model;help;alias'= {
        }
        &'rbee;model;help;help'= {
        }
        &'rbee;job'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand list 'List your jobs, newest first'
            cand show 'Tell about one job'
            cand attach 'Follow a job as if this command had started it'
            cand explain 'Tell why a job runs where it does: which hives and workers were considered, and why'
            cand logs 'Print what a job printed, and follow it while it runs'
            cand cancel 'Cancel a job, and wait until it has ended'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;job;list'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --all 'The jobs of everybody, with their owners'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;show'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;attach'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;explain'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;logs'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;cancel'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;job;help'= {
            cand list 'List your jobs, newest first'
            cand show 'Tell about one job'
            cand attach 'Follow a job as if this command had started it'
            cand explain 'Tell why a job runs where it does: which hives and workers were considered, and why'
            cand logs 'Print what a job printed, and follow it while it runs'
            cand cancel 'Cancel a job, and wait until it has ended'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;job;help;list'= {
        }
        &'rbee;job;help;show'= {
        }
        &'rbee;job;help;attach'= {
        }
        &'rbee;job;help;explain'= {
        }
        &'rbee;job;help;logs'= {
        }
        &'rbee;job;help;cancel'= {
        }
        &'rbee;job;help;help'= {
        }
        &'rbee;key'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand create 'Make a key and print it, this once'
            cand list 'List the keys, which are not shown themselves'
            cand revoke 'Revoke a key at once, and cut what its holder is reading'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;key;create'= {
            cand --role 'What they may do'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;key;list'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;key;revoke'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;key;help'= {
            cand create 'Make a key and print it, this once'
            cand list 'List the keys, which are not shown themselves'
            cand revoke 'Revoke a key at once, and cut what its holder is reading'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;key;help;create'= {
        }
        &'rbee;key;help;list'= {
        }
        &'rbee;key;help;revoke'= {
        }
        &'rbee;key;help;help'= {
        }
        &'rbee;events'= {
            cand --after 'Begin after the event of this number'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand start 'Start the queen, unless it runs already'
            cand stop 'Stop the queen, the hive on its machine, and the hive''s workers'
            cand status 'Say whether the queen runs; the exit code is 69 when it does not'
            cand logs 'Print the end of the queen''s log'
            cand run 'Be the queen, in the foreground'
            cand install 'Have the system start the queen when you log in, as a service of yours, and again when it fails'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;queen;start'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;stop'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --keep-hive 'Leave the hive running'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;status'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;logs'= {
            cand -n 'So many lines'
            cand --lines 'So many lines'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -f 'Go on with what is added, until Ctrl-C'
            cand --follow 'Go on with what is added, until Ctrl-C'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;run'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;install'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --now 'Enable and start it, too'
            cand --dry-run 'Print what would be written'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;queen;help'= {
            cand start 'Start the queen, unless it runs already'
            cand stop 'Stop the queen, the hive on its machine, and the hive''s workers'
            cand status 'Say whether the queen runs; the exit code is 69 when it does not'
            cand logs 'Print the end of the queen''s log'
            cand run 'Be the queen, in the foreground'
            cand install 'Have the system start the queen when you log in, as a service of yours, and again when it fails'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;queen;help;start'= {
        }
        &'rbee;queen;help;stop'= {
        }
        &'rbee;queen;help;status'= {
        }
        &'rbee;queen;help;logs'= {
        }
        &'rbee;queen;help;run'= {
        }
        &'rbee;queen;help;install'= {
        }
        &'rbee;queen;help;help'= {
        }
        &'rbee;doctor'= {
            cand --bundle 'Write what was found, versions, settings, events and the ends of logs to a file, for a report of a bug; without prompts, answers and keys'
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --overwrite 'Write over the file if it is there'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;uninstall'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand --dry-run 'Only list what would be removed'
            cand --models 'Also remove the models that rbee has downloaded'
            cand -y 'Do not ask'
            cand --yes 'Do not ask'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;completions'= {
            cand --output 'The form of the answer on stdout'
            cand --narration 'Where the lines go in which the service tells what it does'
            cand --color 'Whether to use colours; NO_COLOR is honoured'
            cand -q 'No narration, no progress, no notes; errors stay'
            cand --quiet 'No narration, no progress, no notes; errors stay'
            cand -v 'Show the lines meant for whoever looks into a problem, too'
            cand --verbose 'Show the lines meant for whoever looks into a problem, too'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'rbee;help'= {
            cand infer 'Answer a prompt with a model''s tokens, as they come'
            cand embed 'Turn texts into vectors that tell how near they are in meaning'
            cand status 'Tell about the queen, its hives and their workers'
            cand hive 'Look at hives, the machines, and pause them'
            cand worker 'Look at workers, the processes that each run one model, start and stop them'
            cand model 'Bring models, look at them, take them away'
            cand job 'Look at jobs, read them again, cancel them'
            cand key 'Give others keys of their own, and revoke them'
            cand events 'Show what happens to the service: jobs, hives, workers, keys'
            cand queen 'Start, stop and examine the queen: the daemon that takes the jobs'
            cand doctor 'Look for what keeps rbee from working, and say what to do about it'
            cand uninstall 'Stop the daemons, and remove what rbee has written on this machine'
            cand completions 'Print what makes a shell complete `rbee` commands'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'rbee;help;infer'= {
        }
        &'rbee;help;embed'= {
        }
        &'rbee;help;status'= {
        }
        &'rbee;help;hive'= {
            cand status 'Tell about one hive: devices, memory, models, workers'
            cand list 'List the hives'
            cand pause 'Have a hive begin no more work for models, and unload those that nobody uses. For operators'
            cand resume 'Have a hive that was paused go on. For operators'
        }
        &'rbee;help;hive;status'= {
        }
        &'rbee;help;hive;list'= {
        }
        &'rbee;help;hive;pause'= {
        }
        &'rbee;help;hive;resume'= {
        }
        &'rbee;help;worker'= {
            cand list 'List the workers of all hives'
            cand start 'Load a model before anybody asks for it. For operators'
            cand stop 'End a worker at once; the jobs that it has fail. For operators'
            cand drain 'Have a worker take no more jobs, and end when it has done those that it has. For operators'
            cand logs 'Print the end of the workers'' log, which they share'
        }
        &'rbee;help;worker;list'= {
        }
        &'rbee;help;worker;start'= {
        }
        &'rbee;help;worker;stop'= {
        }
        &'rbee;help;worker;drain'= {
        }
        &'rbee;help;worker;logs'= {
        }
        &'rbee;help;model'= {
            cand list 'List the models of all hives, and the aliases'
            cand pull 'Download a model, or go on with a download'
            cand show 'Tell about one model: what it is, where it came from, what it takes'
            cand rm 'Take a model off the disk, but for what other models need. For operators'
            cand search 'Look for models that could be pulled: in a short list of rbee''s own, then on Hugging Face'
            cand verify 'Compare models'' files with what they were when they came. For operators'
            cand alias 'Have a name of your choice stand for a model'
        }
        &'rbee;help;model;list'= {
        }
        &'rbee;help;model;pull'= {
        }
        &'rbee;help;model;show'= {
        }
        &'rbee;help;model;rm'= {
        }
        &'rbee;help;model;search'= {
        }
        &'rbee;help;model;verify'= {
        }
        &'rbee;help;model;alias'= {
        }
        &'rbee;help;job'= {
            cand list 'List your jobs, newest first'
            cand show 'Tell about one job'
            cand attach 'Follow a job as if this command had started it'
            cand explain 'Tell why a job runs where it does: which hives and workers were considered, and why'
            cand logs 'Print what a job printed, and follow it while it runs'
            cand cancel 'Cancel a job, and wait until it has ended'
        }
        &'rbee;help;job;list'= {
        }
        &'rbee;help;job;show'= {
        }
        &'rbee;help;job;attach'= {
        }
        &'rbee;help;job;explain'= {
        }
        &'rbee;help;job;logs'= {
        }
        &'rbee;help;job;cancel'= {
        }
        &'rbee;help;key'= {
            cand create 'Make a key and print it, this once'
            cand list 'List the keys, which are not shown themselves'
            cand revoke 'Revoke a key at once, and cut what its holder is reading'
        }
        &'rbee;help;key;create'= {
        }
        &'rbee;help;key;list'= {
        }
        &'rbee;help;key;revoke'= {
        }
        &'rbee;help;events'= {
        }
        &'rbee;help;queen'= {
            cand start 'Start the queen, unless it runs already'
            cand stop 'Stop the queen, the hive on its machine, and the hive''s workers'
            cand status 'Say whether the queen runs; the exit code is 69 when it does not'
            cand logs 'Print the end of the queen''s log'
            cand run 'Be the queen, in the foreground'
            cand install 'Have the system start the queen when you log in, as a service of yours, and again when it fails'
        }
        &'rbee;help;queen;start'= {
        }
        &'rbee;help;queen;stop'= {
        }
        &'rbee;help;queen;status'= {
        }
        &'rbee;help;queen;logs'= {
        }
        &'rbee;help;queen;run'= {
        }
        &'rbee;help;queen;install'= {
        }
        &'rbee;help;doctor'= {
        }
        &'rbee;help;uninstall'= {
        }
        &'rbee;help;completions'= {
        }
        &'rbee;help;help'= {
        }
    ]
    $completions[$command]
}

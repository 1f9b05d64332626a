# Completion of harness-lua for bash.
_harness_lua() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} previous=${COMP_WORDS[COMP_CWORD-1]} options=
  case $command in
    run) options='--session --stream --progress --timeout --metadata --durable --help' ;;
    chat) options='--session --help' ;;
    inspect) options='--json --help' ;;
    runs) options='--limit --json --help' ;;
    help)
      mapfile -t COMPREPLY < <(compgen -W 'run chat inspect runs' -- "$word")
      return
      ;;
  esac
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W 'run chat inspect runs help --help -e -l -i -v -E -W' -- "$word"; compgen -f -X '!*.lua' -- "$word")
    return
  fi
  case $previous in --session | --timeout | --metadata | --durable | --limit) return ;; esac
  case $word in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
    *)
      # The third word of run and chat names what the file defines.
      if [ "$COMP_CWORD" = 3 ] && { [ "$command" = run ] || [ "$command" = chat ]; } && [ -r "${COMP_WORDS[2]}" ]; then
        local names
        names=$("${COMP_WORDS[0]}" inspect "${COMP_WORDS[2]}" 2>/dev/null |
          awk '/^(agents|workflows) \(/ { on = 1; next } /^[^ ]/ { on = 0 } on { print $1 }')
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
      fi
      ;;
  esac
}
complete -o filenames -F _harness_lua harness-lua

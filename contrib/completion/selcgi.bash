# /usr/share/bash-completion/completions/selcgi, or sourced by ~/.bashrc: selcgi completes its own words (bash 4.4).
# Not _SELCGI_COMPLETE=bash_source: that starts a bash, which selcgi may not do in its own SELinux domain.
_selcgi() {
    local found kind word
    found=$(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _SELCGI_COMPLETE=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS=, read -r kind word; do
        case $kind in
            plain) COMPREPLY+=("$word") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done <<<"$found"
}
complete -o nosort -F _selcgi selcgi

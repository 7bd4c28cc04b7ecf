# /etc/fish/completions/selcgi.fish, or ~/.config/fish/completions: selcgi completes its own words.
_SELCGI_COMPLETE=fish_source selcgi | source

package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// logger writes to w as the configuration says: in colour for people at a
// terminal, as JSON for everything else.
func (l logConfig) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // check has refused everything else
	if l.Format == "text" || (l.Format == "auto" && terminal(w)) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !terminal(w)}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// quiet is the log of a command that is no server: what it has to say, it prints.
func (l logConfig) quiet() logConfig {
	if l.Level == "info" {
		l.Level = "warn"
	}
	return l
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

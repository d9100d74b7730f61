package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/nave-dev/nave/api"
)

// shows is the command that lists what the arguments of a command name, by the command's first word. It is the remedy for
// what was not found.
var shows = map[string]string{
	"sessions": "nave sessions", "events": "nave sessions", "explain": "nave sessions", "wait": "nave sessions", "cancel": "nave sessions",
	"pause": "nave sessions", "resume": "nave sessions", "terminate": "nave sessions",
	"approvals": "nave approvals --all", "approve": "nave approvals --all", "deny": "nave approvals --all",
	"signals": "nave signals --dead", "replay": "nave signals --dead", "signal": "nave get agents",
	"clusters": "nave clusters", "context": "nave context list", "status": "nave context list",
	"get": "nave get KIND", "delete": "nave get KIND", "apply": "nave get KIND", "diff": "nave get KIND", "history": "nave get KIND",
	"rollback": "nave history KIND NAME", "export": "nave get KIND",
}

// remedy is what to do about an error: what the command knows, else what follows from its code. The hub's own words say it
// after a colon, see [api.Error]; then nothing is added but for the codes that the caller's side has to mend.
func (a *app) remedy(err error) string {
	var u *usageError
	var known *advice
	switch {
	case errors.As(err, &known):
		return known.remedy
	case errors.As(err, &u):
		return "see nave --help"
	}
	var e *api.Error
	if !errors.As(err, &e) { // of this machine
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "check the path"
		case errors.Is(err, fs.ErrPermission):
			return "check who may read and write it"
		}
		return fmt.Sprintf("see %s --help", a.path())
	}
	code := api.CodeOf(err)
	switch code {
	case api.CodeUnauthenticated:
		return fmt.Sprintf("the token of context %q is not accepted: give it a new one with nave context set", a.hub.Name)
	case api.CodeDenied:
		return "nave version --hub shows who you are"
	case api.CodeUnavailable:
		if a.hub.Address != "" {
			return fmt.Sprintf("check that the hub at %s runs and can be reached, then repeat the command", a.hub.Address)
		}
		return "repeat the command later"
	case api.CodeConflict:
		return "read it again, then repeat"
	case api.CodeInternal:
		return "this is a defect: report it with the hub's log and the version that nave version --hub shows"
	}
	if advised(err) {
		return ""
	}
	switch code {
	case api.CodeNotFound:
		if list := shows[a.word()]; list != "" {
			return list + " shows what there is"
		}
		return "check the name, and the organization that nave context show says"
	case api.CodeExists:
		return "choose another name, or change what is there"
	case api.CodeInUse:
		return "end what uses it first"
	case api.CodeLimit:
		return "ask for less, or repeat later"
	case api.CodeUnsupported:
		return "nave version --hub shows which version the hub has: bring both to the same one"
	case api.CodeFailed:
		return "nave status shows what is not well"
	}
	return fmt.Sprintf("see %s --help", a.path())
}

// advised tells whether an error says after a colon what would be right.
func advised(err error) bool {
	var e *api.Error
	if errors.As(err, &e) && e.Err != nil {
		err = e.Err
	}
	return strings.Contains(err.Error(), ": ") || strings.Contains(err.Error(), "; ")
}

// path is the command that runs, as it is typed.
func (a *app) path() string {
	if a.command == nil {
		return "nave"
	}
	return a.command.CommandPath()
}

// word is the first word of the command that runs.
func (a *app) word() string {
	words := strings.Fields(a.path())
	if len(words) < 2 {
		return ""
	}
	return words[1]
}

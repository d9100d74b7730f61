package main

import (
	"bytes"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
)

// TestEveryErrorHasARemedy: an error that says only what is wrong gets what to do about it.
func TestEveryErrorHasARemedy(t *testing.T) {
	commands := []string{""}
	for _, c := range (&app{}).root().Commands() {
		commands = append(commands, c.Name())
	}
	for _, code := range api.Codes() {
		for _, name := range commands {
			a := &app{}
			if name != "" {
				parent := &cobra.Command{Use: "nave"}
				a.command = &cobra.Command{Use: name}
				parent.AddCommand(a.command)
			}
			var out bytes.Buffer
			a.errOut = &out
			got := a.fail(t.Context(), api.Errorf(code, "nothing but what is wrong"))
			if got != exits[code] || !regexp.MustCompile(`^error: nothing but what is wrong; \S.{10,}\n$`).MatchString(out.String()) {
				t.Errorf("%s in nave %s: exit %d, %q", code, name, got, out.String())
			}
		}
	}
}

func TestRemedies(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
		code int
	}{
		{api.Errorf(api.CodeNotFound, "there is no cluster \"x\": register it"), "error: there is no cluster \"x\": register it\n", exitNotFound},
		{&api.Error{Code: api.CodeInvalid, Field: "spec.image", Err: errors.New("is empty")}, "error: spec.image: is empty; see nave --help\n", exitFailure},
		{usage("no name"), "error: no name; see nave --help\n", exitUsage},
		{&advice{api.Errorf(api.CodeConflict, "was denied by ann"), "ask ann"}, "error: was denied by ann; ask ann\n", exitConflict},
		{timedOut("it did not come: wait longer"), "error: it did not come: wait longer\n", exitTimeout},
		{&silent{exitFailing}, "", exitFailing},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, "error: open x: file does not exist; check the path\n", exitFailure},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, "error: open x: permission denied; check who may read and write it\n", exitFailure},
	} {
		var out bytes.Buffer
		a := &app{errOut: &out}
		if got := a.fail(t.Context(), tc.err); got != tc.code || out.String() != tc.want {
			t.Errorf("exit %d: %q, want %d: %q", got, out.String(), tc.code, tc.want)
		}
	}
}

// TestTheTopicListsEveryExitCode reads the topic as a person does.
func TestTheTopicListsEveryExitCode(t *testing.T) {
	text := exitCodesTopic().Long
	for code, name := range map[string]int{"0": exitOK, "1": exitFailure, "2": exitUsage, "3": exitNotFound, "4": exitDenied, "5": exitUnavailable, "6": exitConflict,
		"7": exitFailing, "124": exitTimeout, "130": exitInterrupted} {
		if !strings.Contains(text, "\n  "+code+" ") {
			t.Errorf("exit code %d is not in the topic", name)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^  \d+ `).FindAllString(text, -1)); n != 10 {
		t.Errorf("%d codes in the topic", n)
	}
}

// TestEveryCommandHelps: each has a short help, and each with flags of its own an example.
func TestEveryCommandHelps(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		if c.Parent() != nil && c.Parent().Name() == "nave" && c.Runnable() && c.Long != "" && c.Example == "" && c.Name() != "version" && c.HasFlags() {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{}).root())
}

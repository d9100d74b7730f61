package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
)

// defaultInterval is the time between two looks of a watch.
const defaultInterval = 2 * time.Second

func watchFlag(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "stay and show changes until Ctrl-C: on a terminal the whole again, else what changed")
}

// again does look every interval until the caller is interrupted or --timeout is over, which both are a good end. A hub that
// is away is told once, and looked for on.
func (a *app) again(ctx context.Context, look func(context.Context) error) error {
	ctx, cancel := a.whole(ctx)
	defer cancel()
	away := false
	for {
		err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case api.CodeOf(err) == api.CodeUnavailable:
			if !away {
				a.note("%v; looking for it again every %v", err, a.interval)
			}
			away = true
		case err != nil:
			return err
		default:
			away = false
		}
		if !a.pause(ctx) {
			return nil
		}
	}
}

// pause waits for an interval, and reports false when there will be no other look.
func (a *app) pause(ctx context.Context) bool {
	t := time.NewTimer(a.interval)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Sequences of a terminal that a watch uses.
const (
	clearScreen = "\x1b[2J"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
	wrapOff     = "\x1b[?7l"
	wrapOn      = "\x1b[?7h"
)

// redraw shows what draw prints in the place of what it printed before, without clearing the screen in between.
func (a *app) redraw(ctx context.Context, draw func(context.Context) error) error {
	out, errOut := a.out, a.errOut
	defer func() { a.out, a.errOut = out, errOut }()
	io.WriteString(out, wrapOff+clearScreen)
	defer io.WriteString(out, wrapOn)
	last := ""
	return a.again(ctx, func(ctx context.Context) error {
		var page bytes.Buffer
		a.out, a.errOut = &sink{w: &page}, &page
		err := draw(ctx)
		a.out, a.errOut = out, errOut
		var quiet *silent
		switch {
		case ctx.Err() != nil:
			return nil
		case api.CodeOf(err) == api.CodeUnavailable:
			page.Reset()
			fmt.Fprintf(&page, "%s: %s\n%s", a.now().UTC().Format(time.TimeOnly), clean(err.Error(), false), last)
		case errors.As(err, &quiet), err == nil:
			last = page.String()
		default:
			return err
		}
		io.WriteString(out, frame(page.String(), a.height()))
		return out.err
	})
}

// frame is a page for a screen of so many lines; what is longer is cut.
func frame(page string, height int) string {
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if height > 2 && len(lines) > height-1 {
		cut := len(lines) - (height - 2)
		lines = append(lines[:height-2], fmt.Sprintf("... %d more: make the window taller, or narrow the list", cut))
	}
	var b strings.Builder
	b.WriteString(home)
	for _, l := range lines {
		b.WriteString(l + clearLine + "\n")
	}
	b.WriteString(clearBelow)
	return b.String()
}

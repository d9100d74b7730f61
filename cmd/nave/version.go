package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// version is set by the linker in releases.
var version = ""

// programVersion is the release, else what Go noted about the build.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func (a *app) versionCommand() *cobra.Command {
	var hub bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version of this program, and of the hub", Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			if !hub {
				return a.printVersion(nil)
			}
			return a.with(func(c *client.Client) error {
				info, err := c.System.Info(ctx, &navev1.InfoRequest{})
				if err != nil {
					return err
				}
				return a.printVersion(info)
			})
		}, formatText, formatJSON),
	}
	cmd.Flags().BoolVar(&hub, "hub", false, "ask the hub too, and show who you are to it")
	return cmd
}

// printVersion prints what this program is, and what the hub says when it was asked.
func (a *app) printVersion(info *navev1.InfoResponse) error {
	if a.output == formatJSON {
		out := map[string]any{"version": programVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		if info != nil {
			raw, err := encodeJSON(info, false)
			if err != nil {
				return err
			}
			out["hub"] = json.RawMessage(raw)
		}
		return a.printPlain(out)
	}
	_, err := fmt.Fprintf(a.out, "nave %s (%s, %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if info != nil {
		a.say("hub %s at %s; you are %s, %s of %s", info.GetVersion(), a.hub.Address, info.GetSubject(), info.GetRole(), info.GetOrganization())
	}
	return err
}

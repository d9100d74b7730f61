package main

import (
	"context"
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
			fmt.Fprintf(a.out, "nave %s (%s, %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if !hub {
				return nil
			}
			return a.with(func(c *client.Client) error {
				info, err := c.System.Info(ctx, &navev1.InfoRequest{})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.out, clean(fmt.Sprintf("hub %s at %s; you are %s, %s of %s", info.GetVersion(), a.hub.Address,
					info.GetSubject(), info.GetRole(), info.GetOrganization()), false))
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&hub, "hub", false, "ask the hub too, and show who you are to it")
	return cmd
}

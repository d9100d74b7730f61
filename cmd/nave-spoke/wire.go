package main

import (
	"context"
	"log/slog"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// wire makes the parts that the options name. It is the only place of the program that knows which adapters there are.
func wire(ctx context.Context, o options, log *slog.Logger) (parts, error) {
	var p parts
	var err error
	if p.Runtime, p.Door, err = wireRuntime(o, log); err != nil {
		return parts{}, err
	}
	if p.Link, err = wireLink(ctx, o, log); err != nil {
		return parts{}, err
	}
	return p, nil
}

// wireRuntime makes the runtime and the door that its workloads' harnesses connect to.
//
// TODO: spoke/process and spoke/door are not part of the program yet; until then it says so and does not start.
func wireRuntime(options, *slog.Logger) (spoke.Runtime, spoke.Door, error) {
	return nil, nil, api.Errorf(api.CodeUnsupported, "this build has no runtime")
}

// wireLink enrolls on the first start and makes the link to the hub.
//
// TODO: enrollment and the OpenZiti dialer are not part of the program yet; until then it says so and does not start.
func wireLink(context.Context, options, *slog.Logger) (spoke.Link, error) {
	return nil, api.Errorf(api.CodeUnsupported, "this build has no link")
}

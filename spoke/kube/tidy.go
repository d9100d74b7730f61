package kube

import "context"

// tidy is not here yet.
func (r *Runtime) tidy(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

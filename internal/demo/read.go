package main

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
)

// seen is what the API says of one signal's session.
type seen struct {
	sent    sent
	phase   string
	pending int
	clouds  map[string]string // cluster name to cloud
	events  []*navev1.Event
}

// read takes sessions and their logs back through the API.
func (d *demonstration) read(ctx context.Context, signals []*sent) ([]seen, error) {
	c, err := d.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.Clusters.List(ctx, &navev1.ListRequest{})
	if err != nil {
		return nil, err
	}
	clouds := map[string]string{}
	for _, cl := range list.GetClusters() {
		clouds[cl.GetMeta().GetName()] = cl.GetMeta().GetLabels()["cloud"]
	}
	var out []seen
	for _, s := range signals {
		session, err := c.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: s.session})
		if err != nil {
			return nil, err
		}
		v := seen{sent: *s, phase: session.GetPhase(), pending: int(session.GetPending()), clouds: clouds}
		stream, err := c.Sessions.Events(ctx, &navev1.EventsRequest{SessionId: s.session})
		if err != nil {
			return nil, err
		}
		for stream.Receive() {
			v.events = append(v.events, stream.Msg())
		}
		if err := stream.Err(); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

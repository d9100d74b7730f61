package rpc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// sessions implements nave.v1.Sessions but for the stream, which differs between the two listeners.
type sessions struct{ s *Server }

func (h *sessions) Signal(ctx context.Context, req *navev1.SignalRequest) (*navev1.SignalResponse, error) {
	r, err := signalFromProto(ctx, req)
	if err != nil {
		return nil, err
	}
	a, err := h.s.cfg.Sessions.Signal(ctx, r)
	if err != nil {
		return nil, err
	}
	return acceptedToProto(a), nil
}

// signalFromProto checks the form of a signal.
func signalFromProto(ctx context.Context, req *navev1.SignalRequest) (hub.SignalRequest, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return hub.SignalRequest{}, err
	}
	if err := api.ValidateName("agent", req.GetAgent()); err != nil {
		return hub.SignalRequest{}, err
	}
	if err := api.ValidateSessionKey("key", req.GetKey()); err != nil {
		return hub.SignalRequest{}, err
	}
	if n := len(req.GetPayload()); n > api.MaxPayload {
		return hub.SignalRequest{}, &api.Error{Code: api.CodeLimit, Field: "payload", Err: errors.New("is larger than 1 MiB: send a smaller one, or a link to it")}
	}
	if err := api.ValidateIdempotencyKey("idempotency_key", req.GetIdempotencyKey()); err != nil {
		return hub.SignalRequest{}, err
	}
	return hub.SignalRequest{
		Org: org, Agent: req.GetAgent(), Key: req.GetKey(), Payload: req.GetPayload(), IdempotencyKey: req.GetIdempotencyKey(),
		Sender: caller(ctx).Subject, DryRun: req.GetDryRun(),
	}, nil
}

func acceptedToProto(a api.Accepted) *navev1.SignalResponse {
	return &navev1.SignalResponse{SignalId: string(a.Signal), SessionId: string(a.Session), Sequence: a.Sequence, Duplicate: a.Duplicate, AfterEvent: a.After}
}

func (h *sessions) Get(ctx context.Context, req *navev1.GetSessionRequest) (*navev1.Session, error) {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "id", req.GetId())
	if err != nil {
		return nil, err
	}
	v, err := h.view(ctx, org, id)
	if err != nil {
		return nil, err
	}
	names := h.s.names(ctx, org)
	return sessionToProto(v, names), names.err
}

// view returns a session of the store, or else one that ended.
func (h *sessions) view(ctx context.Context, org api.OrgID, id api.SessionID) (hub.SessionView, error) {
	v, err := h.s.cfg.Sessions.Session(ctx, org, id)
	if api.CodeOf(err) != api.CodeNotFound {
		return v, err
	}
	ended, gone := h.s.cfg.History.Terminated(ctx, org, id)
	switch api.CodeOf(gone) {
	case "":
		return hub.SessionView{Session: ended}, nil
	case api.CodeNotFound:
		return v, err
	}
	return v, gone
}

func sessionToProto(v hub.SessionView, names *clusterNames) *navev1.Session {
	m := navev1.SessionToProto(v.Session, v.Pending, v.Consumed, names.of)
	m.OpenApprovals = uint32(v.Asking)
	return m
}

func (h *sessions) List(ctx context.Context, req *navev1.ListSessionsRequest) (*navev1.ListSessionsResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	filter, err := h.filter(ctx, org, req)
	if err != nil {
		return nil, err
	}
	page, err := hub.NewPager(int(req.GetPageSize()), "") // the token is the implementation's
	if err != nil {
		return nil, err
	}
	views, next, err := h.s.cfg.Sessions.Sessions(ctx, org, filter, page.Size, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	names := h.s.names(ctx, org)
	res := &navev1.ListSessionsResponse{NextPageToken: next}
	for _, v := range views {
		res.Sessions = append(res.Sessions, sessionToProto(v, names))
	}
	return res, names.err
}

// filter turns names into ids.
func (h *sessions) filter(ctx context.Context, org api.OrgID, req *navev1.ListSessionsRequest) (f hub.SessionFilter, err error) {
	if f.Selector, err = api.ParseSelector(req.GetSelector()); err != nil {
		return f, err
	}
	if f.Phase = api.Phase(req.GetPhase()); f.Phase != "" && !slices.Contains(api.Phases(), f.Phase) {
		return f, api.Invalid("phase", "%.40q is not a phase: want one of %v", f.Phase, api.Phases())
	}
	if f.Agent, err = h.s.agentNamed(ctx, org, req.GetAgent()); err != nil {
		return f, err
	}
	if name := req.GetCluster(); name != "" {
		c, err := h.s.cfg.Fleet.Cluster(ctx, org, name)
		if err != nil {
			return f, inField(err, "cluster", "name")
		}
		f.Cluster = c.ID
	}
	return f, nil
}

// inField names the request's field in an error about one of the fields was.
func inField(err error, field string, was ...string) error {
	var e *api.Error
	if !errors.As(err, &e) || !slices.Contains(was, e.Field) || e.Field == "" && e.Code != api.CodeNotFound {
		return err
	}
	out := *e
	out.Field = field
	return &out
}

func (h *sessions) events(ctx context.Context, req *navev1.EventsRequest, send func(*navev1.Event) error) error {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId())
	if err != nil {
		return err
	}
	names := h.s.names(ctx, org)
	named := func(m *navev1.Event) error {
		if names.err != nil {
			return names.err
		}
		return send(m)
	}
	write := func(events []api.Event) error {
		for _, e := range events {
			if err := named(navev1.EventToProto(e, names.of)); err != nil {
				return err
			}
		}
		return nil
	}
	from := cmp.Or(req.GetFrom(), 1)
	if req.GetFollow() && req.GetDeltas() {
		return h.s.cfg.Sessions.Live(ctx, org, id, from, req.GetLimit(), write, func(d api.Delta) error { return named(navev1.DeltaToProto(d, names.of)) })
	}
	return h.s.cfg.Sessions.Events(ctx, org, id, from, req.GetFollow(), req.GetLimit(), write)
}

// sessionOf checks organization and id of a request.
func sessionOf(ctx context.Context, org, field, id string) (api.OrgID, api.SessionID, error) {
	o, err := orgOf(ctx, org)
	if err != nil {
		return "", "", err
	}
	if _, err := api.ParseULID(id); err != nil {
		return "", "", api.Invalid(field, "%.40q is not the id of a session: want 26 characters", id)
	}
	return o, api.SessionID(id), nil
}

// connectSessions is nave.v1.Sessions on net/http.
type connectSessions struct{ *sessions }

func (h connectSessions) Events(ctx context.Context, req *navev1.EventsRequest, stream *connect.ServerStream[navev1.Event]) error {
	return h.events(ctx, req, stream.Send)
}

// grpcSessions is nave.v1.Sessions on gRPC.
type grpcSessions struct {
	navev1.UnsafeSessionsServer
	*sessions
}

func (h grpcSessions) Events(req *navev1.EventsRequest, stream grpc.ServerStreamingServer[navev1.Event]) error {
	return h.events(stream.Context(), req, stream.Send)
}

// clusterNames resolves the names of clusters during one request. The clusters are read when the first name is asked for
// and again for each id that is not known yet: what was deleted is called by its id.
type clusterNames struct {
	ctx   context.Context
	s     *Server
	org   api.OrgID
	known map[api.ClusterID]string
	err   error // the first failure to read
}

func (s *Server) names(ctx context.Context, org api.OrgID) *clusterNames {
	return &clusterNames{ctx: ctx, s: s, org: org, known: make(map[api.ClusterID]string)}
}

func (n *clusterNames) of(id api.ClusterID) string {
	if name, ok := n.known[id]; ok || n.err != nil {
		return name
	}
	fresh, err := n.s.cfg.Fleet.Names(n.ctx, n.org)
	if err != nil {
		n.err = err
		return ""
	}
	for k, v := range fresh {
		n.known[k] = v
	}
	if _, ok := n.known[id]; !ok {
		n.known[id] = string(id)
	}
	return n.known[id]
}

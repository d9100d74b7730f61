package floor

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/internal/run"
)

// The floor of an event is two processes. The spoke's prints by a [Plan], appends what is there to a file with a sync, and sends
// it on a stream; the hub's commits what waits, in the rows of an archive, answers the spoke and gives it to readers. gRPC with
// TLS, over loopback.
func init() {
	programs["events-hub"] = eventsHub
	programs["events-spoke"] = eventsSpoke
}

const eventsService = "floor.Events"

// The streams of the floor's hub.
const (
	eventsPush  = "/" + eventsService + "/Push"
	EventsTopic = "/" + eventsService + "/Follow" // a session's name; then its events, packed
)

// Item is an event of the floor.
type Item struct {
	Number uint64
	Text   []byte
}

// pack appends events to a message, behind the name of their session.
func pack(b []byte, session string, items []Item) []byte {
	b = binary.AppendUvarint(b, uint64(len(session)))
	b = append(b, session...)
	for _, i := range items {
		b = binary.AppendUvarint(b, i.Number)
		b = binary.AppendUvarint(b, uint64(len(i.Text)))
		b = append(b, i.Text...)
	}
	return b
}

// Unpack is the inverse. The texts are parts of b.
func Unpack(b []byte) (session string, items []Item, err error) {
	text := func() []byte {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			err = errors.New("the message is cut off")
			return nil
		}
		s := b[w : w+int(n)]
		b = b[w+int(n):]
		return s
	}
	session = string(text())
	for len(b) > 0 && err == nil {
		n, w := binary.Uvarint(b)
		b = b[max(w, 1):]
		items = append(items, Item{n, text()})
	}
	return session, items, err
}

// EventsDial connects to the floor's hub.
func EventsDial(dir, address string) (*grpc.ClientConn, error) {
	creds, err := Mutual(dir)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
}

// eventsHub DIR: its key is in DIR afterwards. It prints its address and that of its profiles.
func eventsHub(ctx context.Context, args []string) error {
	dir := args[0]
	if err := makeKey(dir); err != nil {
		return err
	}
	creds, err := Mutual(dir)
	if err != nil {
		return err
	}
	table, err := openTable(ctx, filepath.Join(dir, "events.db"))
	if err != nil {
		return err
	}
	defer table.close()
	h := newShelf(table)
	srv := grpc.NewServer(grpc.Creds(creds), grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(64<<20))
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: eventsService, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Push", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return h.push(s) }},
		{StreamName: "Follow", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return h.follow(s) }},
	}}, h)
	g := run.NewGroup(ctx)
	g.Go("write", h.write)
	p, err := profiles(g)
	if err == nil {
		err = serve(g, srv, p)
	}
	if err != nil {
		g.Stop()
	}
	return errors.Join(err, g.Wait())
}

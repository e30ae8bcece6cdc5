package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redis speaks RESP itself: SET and GET are what redis-benchmark measures too, but SET + WAIT on one
// connection is what no tool of Redis does.
type redis struct {
	asked       options
	connections map[int]*connection
}

type connection struct {
	socket net.Conn
	in     *bufio.Reader
}

func newRedis(asked options) *redis {
	return &redis{asked: asked, connections: map[int]*connection{}}
}

func (r *redis) dial(caller int) (*connection, error) {
	if known := r.connections[caller]; known != nil {
		return known, nil
	}
	socket, err := net.Dial("tcp", r.asked.endpoints[0])
	if err != nil {
		return nil, err
	}
	made := &connection{socket, bufio.NewReader(socket)}
	r.connections[caller] = made
	return made, nil
}

func (r *redis) call(caller int) (call, error) {
	to, err := r.dial(caller)
	if err != nil {
		return nil, err
	}
	value := string(r.asked.value)
	switch r.asked.load {
	case "redis-set":
		return func(place int) error { return to.ask(1, command("SET", key(place), value)) }, nil
	case "redis-get":
		return func(place int) error { return to.ask(1, command("GET", key(place))) }, nil
	case "redis-set-wait": // acknowledged by one replica: a majority of three, as ours is
		wait := command("WAIT", "1", "0")
		return func(place int) error { return to.ask(2, command("SET", key(place), value)+wait) }, nil
	}
	return nil, fmt.Errorf("no such load: %s", r.asked.load)
}

func (r *redis) fill() error {
	to, err := r.dial(0)
	if err != nil {
		return err
	}
	for place := 0; place < r.asked.keys; place++ {
		if err := to.ask(1, command("SET", key(place), string(r.asked.value))); err != nil {
			return err
		}
	}
	return nil
}

func command(words ...string) string {
	var made strings.Builder
	fmt.Fprintf(&made, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&made, "$%d\r\n%s\r\n", len(word), word)
	}
	return made.String()
}

// ask sends commands and takes as many answers: +text, :number, $bytes; an error or nil is an error.
func (c *connection) ask(answers int, commands string) error {
	if _, err := io.WriteString(c.socket, commands); err != nil {
		return err
	}
	for i := 0; i < answers; i++ {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		switch line[0] {
		case '-':
			return fmt.Errorf("%s", line)
		case ':':
			if line == ":0" {
				return fmt.Errorf("WAIT: no replica acknowledged")
			}
		case '$':
			size, err := strconv.Atoi(line[1:])
			if err != nil || size < 0 {
				return fmt.Errorf("nothing there: %s", line)
			}
			if _, err := c.in.Discard(size + 2); err != nil {
				return err
			}
		}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const patience = 10 * time.Second

// etcd asks over asked.conns clients, which its callers share.
type etcd struct {
	asked   options
	clients []*clientv3.Client
}

func newEtcd(asked options) (*etcd, error) {
	made := &etcd{asked: asked}
	for i := 0; i < asked.conns; i++ {
		client, err := clientv3.New(clientv3.Config{Endpoints: asked.endpoints, DialTimeout: patience})
		if err != nil {
			return nil, err
		}
		made.clients = append(made.clients, client)
	}
	return made, nil
}

func (e *etcd) call(caller int) (call, error) {
	client, value := e.clients[caller%len(e.clients)], string(e.asked.value)
	switch e.asked.load {
	case "etcd-put":
		return func(place int) error {
			_, err := client.Put(context.Background(), key(place), value)
			return err
		}, nil
	case "etcd-lget":
		return func(place int) error { return found(client.Get(context.Background(), key(place))) }, nil
	case "etcd-sget":
		return func(place int) error {
			return found(client.Get(context.Background(), key(place), clientv3.WithSerializable()))
		}, nil
	case "etcd-txn":
		return func(place int) error {
			_, err := client.Txn(context.Background()).Then(e.puts(place)...).Commit()
			return err
		}, nil
	}
	return nil, fmt.Errorf("no such load: %s", e.asked.load)
}

// found: a get that finds nothing would be faster, and a wrong measurement.
func found(answer *clientv3.GetResponse, err error) error {
	if err == nil && len(answer.Kvs) != 1 {
		return fmt.Errorf("%d keys found", len(answer.Kvs))
	}
	return err
}

// puts of `batch` keys that lie side by side, as those of a frame do.
func (e *etcd) puts(place int) []clientv3.Op {
	steps := make([]clientv3.Op, e.asked.batch)
	for i := range steps {
		steps[i] = clientv3.OpPut(key((place+i)%e.asked.keys), string(e.asked.value))
	}
	return steps
}

func (e *etcd) fill() error {
	const fillers = 64
	var all sync.WaitGroup
	problems := make([]error, fillers)
	for i := 0; i < fillers; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			client := e.clients[i%len(e.clients)]
			for place := i; place < e.asked.keys && problems[i] == nil; place += fillers {
				_, problems[i] = client.Put(context.Background(), key(place), string(e.asked.value))
			}
		}(i)
	}
	all.Wait()
	for _, problem := range problems {
		if problem != nil {
			return problem
		}
	}
	return nil
}

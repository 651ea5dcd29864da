# OpenStack Swift with its S3 door, whole in one process, on loopback: the S3 endpoint of the tests. Debian's packages of Swift are all it needs.
# Arguments: a directory on a file system with extended attributes, the port, the access key, the secret, and `conditional` or `plain`.
# Prints one line when it serves. Ends when its standard input does.
import eventlet

eventlet.monkey_patch()

import logging
import os
import sys
import time

from eventlet import wsgi
from swift.common import utils

directory, port, access_key, secret, writes = sys.argv[1:6]
utils.HASH_PATH_PREFIX = b''
utils.HASH_PATH_SUFFIX = b'tests'
utils.validate_configuration = lambda: None

from swift.account.server import AccountController
from swift.common.middleware.s3api.s3request import S3Request
from swift.common.ring import RingBuilder
from swift.common.wsgi import SwiftHttpProtocol, loadapp
from swift.container.server import ContainerController
from swift.obj.server import ObjectController

quiet = logging.getLogger('quiet')
quiet.addHandler(logging.NullHandler())
quiet.propagate = False
devices = os.path.join(directory, 'devices')
os.makedirs(os.path.join(devices, 'disk'), exist_ok=True)

# Swift itself knows `If-None-Match: *` on a PUT; its S3 door of this version answers 501 to it, before it looks. With `conditional` it is let through.
validate_headers = S3Request._validate_headers


def let_create_only_through(request):
    header = 'HTTP_IF_NONE_MATCH'
    value = request.environ.pop(header) if request.environ.get(header) == '*' else None
    try:
        validate_headers(request)
    finally:
        if value:
            request.environ[header] = value


if writes == 'conditional':
    S3Request._validate_headers = let_create_only_through


class Cache:
    '''What memcached is to a Swift of several processes.'''

    def __init__(self):
        self.kept = {}

    def get(self, key, raise_on_error=False):
        value, until = self.kept.get(key, (None, 0))
        return value if until > now() else None

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.kept[key] = (value, now() + time)

    def delete(self, key, server_key=None):
        self.kept.pop(key, None)


now = time.monotonic


def with_cache(app, cache):
    def answer(environ, start_response):
        def start(status, headers, *rest):
            # The server below writes an empty chunk after the head of an answer without a length, also to a HEAD.
            if environ['REQUEST_METHOD'] == 'HEAD' and not any(name.lower() == 'content-length' for name, _ in headers):
                headers = headers + [('Content-Length', '0')]
            return start_response(status, headers, *rest)

        environ['swift.cache'] = cache
        return app(environ, start)

    return answer


def serve(socket, app):
    eventlet.spawn(
        wsgi.server, socket, app, quiet, protocol=SwiftHttpProtocol, capitalize_response_headers=False, max_size=1024,
        keepalive=True,
    )


# One copy of everything, on one device, each of the three back ends on a port the system chooses.
settings = {
    'devices': devices, 'mount_check': 'false', 'swift_dir': directory, 'log_name': 'swift', 'log_level': 'ERROR',
    'log_address': '/dev/null', 'fallocate_reserve': '0', 'disable_fallocate': 'true', 'replication_server': '',
}
for name, controller in (('account', AccountController), ('container', ContainerController), ('object', ObjectController)):
    socket = eventlet.listen(('127.0.0.1', 0), backlog=1024)
    builder = RingBuilder(2, 1, 1)
    builder.add_dev({
        'id': 0, 'region': 1, 'zone': 1, 'weight': 1.0, 'ip': '127.0.0.1', 'port': socket.getsockname()[1],
        'replication_ip': '127.0.0.1', 'replication_port': socket.getsockname()[1], 'device': 'disk', 'meta': '',
    })
    builder.rebalance()
    builder.get_ring().save(os.path.join(directory, name + '.ring.gz'))
    serve(socket, controller(settings))

door = os.path.join(directory, 'proxy.conf')
with open(door, 'w') as file:
    file.write(f'''
[DEFAULT]
swift_dir = {directory}
log_level = ERROR
log_address = /dev/null

[pipeline:main]
pipeline = catch_errors s3api tempauth bulk slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
min_segment_size = 1

[filter:tempauth]
use = egg:swift#tempauth
user_{access_key.replace(':', '_')} = {secret} .admin

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo
max_manifest_segments = 1000

[filter:dlo]
use = egg:swift#dlo
''')

serve(eventlet.listen(('127.0.0.1', int(port)), backlog=1024), with_cache(loadapp(door), Cache()))
print('serving', flush=True)
eventlet.tpool.execute(sys.stdin.read)

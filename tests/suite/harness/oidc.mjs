// An identity provider for the suite: oidc-provider with keys that are exchanged while it runs, and an endpoint for
// introspection. Arguments: the folder with node_modules, a port, and for TLS the files of a key and a certificate.
//
//   POST /control/rotate?keep=1   sign with a new key; without keep=1 the old ones are gone
//   POST /control/down            answer nothing any more; /control/up answers again
//   GET  /control/fetches         how often the set of keys was fetched
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

const [folder, port, key, cert] = process.argv.slice(2);
const { default: Provider } = await import(`${folder}/node_modules/oidc-provider/lib/index.js`);
const { generateKeyPair, exportJWK } = await import(`${folder}/node_modules/jose/dist/webapi/index.js`);

const scheme = key ? 'https' : 'http';
const issuer = `${scheme}://127.0.0.1:${port}`;
let keys = [];
let serial = 0;
let down = false;
let fetches = 0;
let serve;

async function rotate(keep) {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(privateKey)), kid: `key-${serial++}`, alg: 'ES256', use: 'sig' };
  keys = [jwk, ...(keep ? keys.slice(0, 3) : [])];
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: ['app', 'gateway'].map((client_id) => ({
      client_id, client_secret: 'suite-secret', grant_types: ['client_credentials'], redirect_uris: [],
      response_types: [], scope: 'orders:read', id_token_signed_response_alg: 'ES256',
    })),
    scopes: ['orders:read'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:shop',
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'orders:read', audience: 'shop', accessTokenTTL: 600,
          ...(resource === 'urn:opaque' ? { accessTokenFormat: 'opaque' }
            : { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
        }),
      },
    },
  });
  const callback = provider.callback();
  // Another instance knows nothing of the tokens of the one before: those that are looked up stay with the first.
  first ??= callback;
  serve = (request, response) =>
    (request.url.startsWith('/token/introspection') || request.headers['x-first'] ? first : callback)(request, response);
}
let first;

await rotate(false);
async function handle(request, response) {
  const { pathname, searchParams } = new URL(request.url, issuer);
  if (pathname === '/control/rotate') await rotate(searchParams.get('keep') === '1');
  else if (pathname === '/control/down') down = true;
  else if (pathname === '/control/up') down = false;
  else if (pathname === '/control/fetches') return response.end(String(fetches));
  else if (down) return request.socket.destroy();
  else {
    if (pathname === '/jwks') {
      fetches += 1;
      response.setHeader('Cache-Control', 'max-age=600');
    }
    return serve(request, response);
  }
  response.end('done');
}
const server = key ? createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, handle) : createServer(handle);
server.listen(Number(port), '127.0.0.1', () => process.stderr.write('listening\n'));
